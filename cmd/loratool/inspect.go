package main

import "github.com/spf13/cobra"

func newInspectCmd() *cobra.Command { return &cobra.Command{Use: "inspect PATH..."} }
func newDemoCmd() *cobra.Command    { return &cobra.Command{Use: "demo"} }
