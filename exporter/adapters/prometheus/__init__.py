"""The exposition of the fleet, and the metrics of the exporter itself."""
