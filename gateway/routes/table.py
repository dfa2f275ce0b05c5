"""Every endpoint of the gateway, in the order of the OpenAPI document."""

from __future__ import annotations

from gateway.http.describe import Endpoint
from gateway.routes import (
    approvals,
    audit,
    auth,
    catalog,
    catalog_changes,
    commands,
    delegations,
    events,
    operations,
    passwords,
    reference_files,
    request_commands,
    requests,
    rules,
    sessions,
    sign_in_elsewhere,
    sync,
    updates,
    users,
)

ENDPOINTS: tuple[Endpoint, ...] = tuple(
    endpoint
    for group in (
        auth.group,
        sessions.group,
        passwords.group,
        auth.public,
        sign_in_elsewhere.group,
        users.group,
        request_commands.group,
        requests.group,
        approvals.group,
        sync.group,
        updates.group,
        events.group,
        commands.group,
        catalog.group,
        rules.group,
        catalog_changes.group,
        reference_files.group,
        delegations.group,
        audit.group,
        operations.group,
        operations.described,
    )
    for endpoint in group.endpoints
)
