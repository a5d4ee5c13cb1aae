# The control plane, and the host that installs the others.
{
}
