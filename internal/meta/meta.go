// Package meta holds the tests that keep the house: what a reviewer would otherwise have to remember at every change.
package meta
