package spec_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/loratool/loratool/spec"
)

func digest(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// A reader in another program holds itself against every vector.
func ExampleVectors() {
	all, err := spec.Vectors()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range all {
		if v.Name == "n_AD013_inner" {
			fmt.Println(v.Expect, v.Rules, v.Comment)
		}
	}
	// Output: reject [AD013] A of rank 2 and B of rank 3
}
