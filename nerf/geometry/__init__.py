"""Space: cameras, lenses, boxes and how space is contracted. Needs no picture and no field."""
