"""Commands: records on Kafka become calls of the Missions API, at most once each."""
