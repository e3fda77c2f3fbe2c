"""ModelArts and IAM: signing in, asking politely, and reading whole windows."""
