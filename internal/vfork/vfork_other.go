//go:build !amd64 || novfork

package vfork

// Supported says whether Start works on this kind of machine, if the kernel has clone3.
const Supported = false

const noSystemCall = 38 // ENOSYS

func start(*Program, *Step) uintptr { return ^uintptr(noSystemCall - 1) }

func readNoFile() bool { return false }
