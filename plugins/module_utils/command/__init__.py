"""The command wharf on the registry's server: one file for each subcommand, and what they share."""
