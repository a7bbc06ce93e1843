//go:build !amd64 || noasm

package dtype

func best() *kernels { return &generic }

// all lists the implementations that this machine can run.
func all() []*kernels { return []*kernels{&generic} }
