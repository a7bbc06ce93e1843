package dtype

import "strings"

// aliases are spellings of other libraries.
var aliases = map[string]string{
	"FLOAT": "F32", "FLOAT32": "F32", "FLOAT16": "F16", "HALF": "F16", "BFLOAT16": "BF16", "DOUBLE": "F64", "FLOAT64": "F64",
	"FP32": "F32", "FP16": "F16", "FP64": "F64", "FP8": "F8_E4M3", "FLOAT8_E4M3FN": "F8_E4M3", "F8_E4M3FN": "F8_E4M3", "FLOAT8_E5M2": "F8_E5M2",
	"INT8": "I8", "INT16": "I16", "INT32": "I32", "INT64": "I64", "UINT8": "U8", "BYTE": "U8", "LONG": "I64", "BOOLEAN": "BOOL",
}

// likeness counts what a wrong name has in common with a right one: the
// longest common subsequence, without regard to case, less the letters over.
func likeness(wrong, right string) int {
	w := strings.ToUpper(wrong)
	if len(w) > 32 {
		return 0
	}
	if w == right || aliases[w] == right {
		return 1000
	}
	previous := make([]int, len(right)+1)
	for i := range len(w) {
		current := make([]int, len(right)+1)
		for j := range len(right) {
			if w[i] == right[j] {
				current[j+1] = previous[j] + 1
			} else {
				current[j+1] = max(previous[j+1], current[j])
			}
		}
		previous = current
	}
	return 4*previous[len(right)] - len(right) - len(w)
}
