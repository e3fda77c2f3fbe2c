"""Who asks us over HTTP: scrapers, programs and people."""
