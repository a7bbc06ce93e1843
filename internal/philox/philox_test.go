package philox

import (
	"fmt"
	"testing"
)

// TestKnown holds the generator against a vector of the authors' Random123
// (kat_vectors, philox4x32 10, counter and key zero).
func TestKnown(t *testing.T) {
	if got, want := generate(0, 0, 0, 0), [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}; got != want {
		t.Errorf("%x, want %x", got, want)
	}
}

func ExampleKey() {
	k := NewKey("example", 1, "layers.0")
	fmt.Println(k.Word(5) == k.Block(4)[1], k.Word(5) == NewKey("example", 2, "layers.0").Word(5))
	// Output: true false
}
