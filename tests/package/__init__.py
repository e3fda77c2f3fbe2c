"""Scripts and checks of `make package-test` and `make release-check`."""
