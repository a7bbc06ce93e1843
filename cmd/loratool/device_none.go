//go:build !cuda

package main

import "github.com/spf13/cobra"

// hasCUDA says that this binary has no CUDA.
const hasCUDA = false

// deviceCommands returns no commands.
func deviceCommands() []*cobra.Command { return nil }
