package faults

var keeperFaults []fault
