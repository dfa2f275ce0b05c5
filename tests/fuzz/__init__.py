"""The running gateway under a property-based fuzz of its own OpenAPI document, by Schemathesis."""
