"""The web planner: what a user can ask, the engine's answer, and the page that shows it."""
