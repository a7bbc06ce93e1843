//go:build !linux

package train

// freeMemory returns how many bytes a process may still use, if it is known.
func freeMemory() (free int64, known bool) { return 0, false }
