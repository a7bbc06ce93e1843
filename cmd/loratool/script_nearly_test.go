package main

import (
	"math"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/loratool/loratool/format/safetensors"
)

// scriptNearly compares the float tensors of two files one by one:
//
//	nearly FILE FILE SHARE
//
// fails where ‖x − y‖ is more than that share of ‖y‖.
func scriptNearly(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) == 3, "nearly FILE FILE SHARE")
	share, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	x, err := safetensors.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer x.Close()
	y, err := safetensors.Open(ts.MkAbs(args[1]))
	ts.Check(err)
	defer y.Close()
	theirs := map[string]safetensors.Tensor{}
	for _, t := range y.Header().Tensors() {
		theirs[t.Name] = t
	}
	worst := 0.0
	for _, t := range x.Header().Tensors() {
		u, ok := theirs[t.Name]
		if !ok || len(x.Header().Tensors()) != len(theirs) {
			ts.Fatalf("%s and %s have different tensors", args[0], args[1])
		}
		if t.DType.Float() {
			worst = max(worst, relative(decode(x, t), decode(y, u)))
		}
	}
	if (worst <= share) == neg {
		ts.Fatalf("%s and %s differ by %.3g", args[0], args[1], worst)
	}
}

func decode(f *safetensors.File, t safetensors.Tensor) []float64 {
	raw := f.Bytes(t)
	x := make([]float64, len(raw)*8/t.DType.Bits())
	t.DType.Decode64(x, raw)
	return x
}

// relative returns ‖x − y‖/‖y‖, +Inf for different lengths.
func relative(x, y []float64) float64 {
	if len(x) != len(y) {
		return math.Inf(1)
	}
	off, norm := 0.0, 0.0
	for i := range x {
		off += (x[i] - y[i]) * (x[i] - y[i])
		norm += y[i] * y[i]
	}
	if off == 0 {
		return 0
	}
	return math.Sqrt(off / norm)
}
