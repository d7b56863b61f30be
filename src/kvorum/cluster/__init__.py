"""Past one machine: groups of members, runs and questions spread over the workers of a Ray cluster."""
