//go:build !amd64 || noasm

package crc

func best() *kernel { return &generic }

// all lists the implementations that this machine can run.
func all() []*kernel { return []*kernel{&generic} }
