"""A fleet of phones against the real product: offline, with lost answers, killed apps, wrong clocks and changing roles."""
