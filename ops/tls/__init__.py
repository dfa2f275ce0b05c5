"""Certificates between the services: a private CA, one certificate per service, contexts that take new ones up."""
