//go:build unix

package hostile

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
)

func fifo(dir string) (string, error) {
	path := filepath.Join(dir, "model.safetensors")
	return path, syscall.Mkfifo(path, 0o666)
}

// socket leaves the file of a socket that nobody listens on. Opening one is
// an error of the system, so the case reaches it by name only.
func socket(dir string) (string, error) {
	short, err := os.MkdirTemp("", "s") // a socket's path is at most 107 bytes long
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(short)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(short, "s"), Net: "unix"})
	if err != nil {
		return "", err
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "model.safetensors")
	return path, os.Rename(filepath.Join(short, "s"), path)
}
