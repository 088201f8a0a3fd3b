"""Learning: the loop, its schedule, what is drawn, what moves by Adam."""
