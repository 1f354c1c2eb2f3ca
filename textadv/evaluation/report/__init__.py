"""The report: one HTML file that needs nothing else, and its figures as PNG and JSON."""
