//go:build !amd64 || noasm

package linalg

func peak32(isa, int) (flops int) { return 0 }

func peak64(isa, int) (flops int) { return 0 }
