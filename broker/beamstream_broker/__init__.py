"""What runs beside Redis: the embedded server, retention, administration, the demo."""
