// Package supervisor reads Supervisor's files as Supervisor 4.2 does, and
// converts them.
//
// Read is a port of what its ServerOptions make of a file (the INI dialect of
// Python's RawConfigParser, % expansion, both modes of shlex, its own types), so
// that what qsuper will run can be compared, instance by instance, with what
// Supervisor runs. The tests ask Supervisor itself. Convert writes the document.
package supervisor
