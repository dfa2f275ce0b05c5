"""The worker's and the projector's stream agents, and the loop that keeps their promises."""
