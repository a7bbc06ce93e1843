package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/text"
)

// splitWeight takes ADAPTER=WEIGHT apart. A path that exists as it stands is a
// path, whatever its characters.
func splitWeight(arg string) (name string, weight float64, err error) {
	i := strings.LastIndexByte(arg, '=')
	if i < 0 {
		return arg, 1, nil
	}
	if _, err := os.Stat(arg); err == nil {
		return arg, 1, nil
	}
	if i == 0 {
		return "", 0, usagef("%q names no adapter: expected ADAPTER=WEIGHT", arg)
	}
	weight, err = strconv.ParseFloat(arg[i+1:], 64)
	if err != nil || math.IsNaN(weight) || math.IsInf(weight, 0) {
		return "", 0, usagef("weight %q of adapter %q is not a finite number", arg[i+1:], arg[:i])
	}
	return arg[:i], weight, nil
}

// readNamed reads a small file that a flag names, which may be a pipe or a
// device that has no end.
func readNamed(path string) ([]byte, error) {
	const most = 16 << 20
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if len(data) > most {
		return nil, fmt.Errorf("%s: more than %s", text.Quote(path), text.Bytes(most))
	}
	return data, err
}

// dtypeWords are the names that other tools use, beside the format's own.
var dtypeWords = map[string]dtype.DType{
	"bf16": dtype.BF16, "bfloat16": dtype.BF16, "f16": dtype.F16, "fp16": dtype.F16, "float16": dtype.F16,
	"f32": dtype.F32, "fp32": dtype.F32, "float32": dtype.F32, "f64": dtype.F64, "fp64": dtype.F64, "float64": dtype.F64,
}

func parseDType(s string) (dtype.DType, error) {
	d, ok := dtypeWords[strings.ToLower(s)]
	if !ok {
		return 0, usagef("--dtype %q: expected bf16, f16, f32 or f64", s)
	}
	return d, nil
}
