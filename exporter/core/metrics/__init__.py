"""The metric families of services and projects."""
