package note

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strconv"

	"github.com/loratool/loratool/internal/strictjson"
)

// Fingerprint names a binding in short. It is the SHA-256 of one line for each
// weight, sorted by name,
//
//	digest dtype shape name\n
//
// with the shape as its dimensions joined by "x", "-" for a scalar.
func Fingerprint(weights []Weight) string {
	sorted := slices.SortedFunc(slices.Values(weights), func(a, b Weight) int { return cmp.Compare(a.Name, b.Name) })
	h := sha256.New()
	var line []byte
	for _, w := range sorted {
		line = append(line[:0], w.Digest.String()...)
		line = append(append(line, ' '), w.DType.String()...)
		line = append(line, ' ')
		for i, n := range w.Shape {
			if i > 0 {
				line = append(line, 'x')
			}
			line = strconv.AppendInt(line, int64(n), 10)
		}
		if len(w.Shape) == 0 {
			line = append(line, '-')
		}
		line = append(append(line, ' '), w.Name...)
		h.Write(append(line, '\n'))
	}
	return fingerprintMark + Digest(h.Sum(nil)).String()
}

// Metadata returns the entries that say what n says, for the header of a file.
func (n *Notes) Metadata() map[string]string {
	m := map[string]string{KeySpec: cmp.Or(n.Version, Spec)}
	if len(n.Base) > 0 {
		table := strictjson.Value{Kind: strictjson.Object}
		for _, w := range slices.SortedFunc(slices.Values(n.Base), func(a, b Weight) int { return cmp.Compare(a.Name, b.Name) }) {
			table.Members = append(table.Members, strictjson.Member{Name: w.Name, Value: w.value()})
		}
		m[KeyBaseTensors] = string(table.Append(nil))
		m[KeyFingerprint] = Fingerprint(n.Base)
	}
	if n.Tensors != nil {
		table := strictjson.Value{Kind: strictjson.Object}
		for name, d := range n.Tensors {
			table.Members = append(table.Members, strictjson.Member{Name: name, Value: text(d.String())})
		}
		slices.SortFunc(table.Members, func(a, b strictjson.Member) int { return cmp.Compare(a.Name, b.Name) })
		m[KeyTensors] = string(table.Append(nil))
	}
	if n.Modules != nil {
		table := strictjson.Value{Kind: strictjson.Object}
		for _, s := range n.Modules {
			pair := strictjson.Value{Kind: strictjson.Array, Elements: []strictjson.Value{number(float64(s.Rank)), number(s.Alpha)}}
			table.Members = append(table.Members, strictjson.Member{Name: s.Module, Value: pair})
		}
		m[KeyModules] = string(table.Append(nil))
	}
	return m
}

func (w Weight) value() strictjson.Value {
	shape := strictjson.Value{Kind: strictjson.Array}
	for _, n := range w.Shape {
		shape.Elements = append(shape.Elements, number(float64(n)))
	}
	return strictjson.Value{Kind: strictjson.Object, Members: []strictjson.Member{
		{Name: "dtype", Value: text(w.DType.String())}, {Name: "shape", Value: shape}, {Name: "sha256", Value: text(w.Digest.String())}}}
}

func text(s string) strictjson.Value { return strictjson.Value{Kind: strictjson.String, Text: s} }

func number(x float64) strictjson.Value {
	return strictjson.Value{Kind: strictjson.Number, Text: strconv.FormatFloat(x, 'f', -1, 64)}
}
