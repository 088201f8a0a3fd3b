"""What scanners measure of a volume."""
