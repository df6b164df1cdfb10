"""The report: what each section says of a store, the charts, and the one HTML file that they become."""
