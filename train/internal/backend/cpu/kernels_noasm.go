//go:build !amd64 || noasm

package cpu

// Without assembly best is generic and nothing here is called.

func addScaledPart(isa, []float32, []float32, float32) { panic("cpu: no assembly") }

func scalePart(isa, []float32, float32) { panic("cpu: no assembly") }

func mostPart(isa, []float32, *[lanes]float32) { panic("cpu: no assembly") }

func gatePart(isa, []float32, []float32, []float32) { panic("cpu: no assembly") }

func gateGradPart(isa, []float32, []float32, []float32, []float32) { panic("cpu: no assembly") }

func normalisePart(isa, []float32, []float32, []float32, float32, float32) { panic("cpu: no assembly") }

func normSumPart(isa, []float32, []float32, []float32, float32, float32, *[lanes]float64) {
	panic("cpu: no assembly")
}

func normGradPart(isa, []float32, []float32, []float32, []float32, float32, float32, float32, float32) {
	panic("cpu: no assembly")
}

func scoreGradPart(isa, []float32, []float32, float32, float32, float32) { panic("cpu: no assembly") }

func dotPart(isa, []float32, []float32, *[lanes]float32) { panic("cpu: no assembly") }

func dotWidePart(isa, []float32, []float32, *[lanes]float64) { panic("cpu: no assembly") }

func rotatePart(isa, []float32, []float32, []float32, []float32, float32) { panic("cpu: no assembly") }

func adamPart(isa, []float32, []float32, []float32, []float32, *adamNumbers) {
	panic("cpu: no assembly")
}
