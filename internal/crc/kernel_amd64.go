//go:build !noasm

package crc

import "golang.org/x/sys/cpu"

//go:generate go run -C ../../tools/asmgen ./crc -out ../../internal/crc/fold_amd64.s -stubs ../../internal/crc/fold_gen.go -pkg crc

var avx512 = kernel{"avx512", foldAVX512}

// best returns the fastest implementation that the processor has and GODEBUG
// allows. The AVX-512 kernel needs AVX-512F, and PCLMULQDQ in registers of
// every size.
func best() *kernel {
	x := &cpu.X86
	if !x.HasAVX512F || !x.HasAVX512VPCLMULQDQ || !x.HasAVX2 || !x.HasPCLMULQDQ {
		return &generic
	}
	return &avx512
}

// all lists the implementations that this machine can run, the best last.
func all() []*kernel {
	if best() == &avx512 {
		return []*kernel{&generic, &avx512}
	}
	return []*kernel{&generic}
}
