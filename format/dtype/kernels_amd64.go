//go:build !noasm

package dtype

import "golang.org/x/sys/cpu"

//go:generate go run -C ../../tools/asmgen ./codec -out ../../format/dtype/codec_amd64.s -stubs ../../format/dtype/codec_gen.go -pkg dtype

var avx2 = kernels{
	name: "avx2",
}

var avx512 = kernels{
	name: "avx512",
}

// best returns the fastest implementation that the processor has and GODEBUG
// allows. The AVX-512 kernels need no more than AVX-512F.
func best() *kernels {
	x := &cpu.X86
	switch {
	case !x.HasAVX2 || !x.HasF16C:
		return &generic
	case !x.HasAVX512F:
		return &avx2
	}
	return &avx512
}

// all lists the implementations that this machine can run, the best last.
func all() []*kernels {
	switch best() {
	case &avx512:
		return []*kernels{&generic, &avx2, &avx512}
	case &avx2:
		return []*kernels{&generic, &avx2}
	}
	return []*kernels{&generic}
}
