{{ $now := Now }}
phase: Running
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
addresses:
- {type: InternalIP, address: 127.0.0.1}
- {type: Hostname, address: {{ .metadata.name | Quote }}}
daemonEndpoints:
  kubeletEndpoint:
    Port: @KUBELET_PORT@
# Room for whatever a benchmark schedules: nothing runs, so nothing is used.
capacity: {cpu: "1000", memory: 1Ti, ephemeral-storage: 1Ti, pods: "10000"}
allocatable: {cpu: "1000", memory: 1Ti, ephemeral-storage: 1Ti, pods: "10000"}
nodeInfo:
  architecture: amd64
  operatingSystem: linux
  osImage: testbed
  bootID: ""
  machineID: ""
  systemUUID: ""
  kernelVersion: kwok-{{ Version }}
  containerRuntimeVersion: kwok-{{ Version }}
  kubeletVersion: kwok-{{ Version }}
  kubeProxyVersion: ""
