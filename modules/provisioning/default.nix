# How machines become hosts.
{ }
