"""The viewer: pages over the service, of plain files without a build."""
