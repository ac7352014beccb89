"""Groups of animals: log energies, moderated t statistics, power, and agreement of replicates."""
