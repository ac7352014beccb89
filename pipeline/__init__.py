"""From scanned in situ hybridisation sections of a brain to expression in brain structures."""
