"""Whether the agent is well: progress and watchdog, measurements of the machine, and who may ask."""
