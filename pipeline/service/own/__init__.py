"""The project's own part of the API, /ish/v1, with its OpenAPI document."""
