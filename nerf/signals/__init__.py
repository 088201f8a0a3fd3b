"""Files of signals -> tensors, and back; nothing is learned here."""
