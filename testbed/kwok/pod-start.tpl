{{ $now := Now }}
{{ $a := or .metadata.annotations dict }}
{{ $pull := eq (or (index $a "pods.swell.dev/image-pull-error") "") "true" }}
{{ $crash := and (eq (or (index $a "pods.swell.dev/crash-loop") "") "true") (ne .spec.restartPolicy "Never") }}
{{ $held := or (eq (or (index $a "pods.swell.dev/ready") "") "never") (ne (or (index $a "pods.swell.dev/ready-after") "") "") }}
{{ $ready := not (or $pull $crash $held) }}
{{ $message := or (index $a "pods.swell.dev/message") "" }}
{{ $code := int (or (index $a "pods.swell.dev/exit-code") "1") }}
{{ $names := list }}{{ range .spec.containers }}{{ $names = append $names .name }}{{ end }}
phase: {{ if $pull }}Pending{{ else }}Running{{ end }}
startTime: {{ $now | Quote }}
{{ $ips := PodIPsWith .spec.nodeName (or .spec.hostNetwork false) (or .metadata.uid "") (or .metadata.name "") (or .metadata.namespace "") }}
hostIP: 127.0.0.1
hostIPs: [{ip: 127.0.0.1}]
podIP: {{ index $ips 0 | Quote }}
podIPs: [{{ range $i, $ip := $ips }}{{ if $i }}, {{ end }}{ip: {{ $ip | Quote }}}{{ end }}]
conditions:
- {type: PodReadyToStartContainers, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ range list "Ready" "ContainersReady" }}
- type: {{ . }}
  status: {{ if $ready }}"True"{{ else }}"False"{{ end }}
  {{ if not $ready }}
  reason: ContainersNotReady
  message: {{ printf "containers with unready status: [%s]" (join " " $names) | Quote }}
  {{ end }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
{{ if $ready }}{{ range .spec.readinessGates }}
- {type: {{ .conditionType | Quote }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}{{ end }}
{{ with .spec.initContainers }}
initContainerStatuses:
{{ range . }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  restartCount: 0
  {{ if eq (or .restartPolicy "") "Always" }}
  started: true
  state: {running: {startedAt: {{ $now | Quote }}}}
  {{ else }}
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
  {{ end }}
{{ end }}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: {{ $ready }}
  {{ if $pull }}
  started: false
  restartCount: 0
  state: {waiting: {reason: ImagePullBackOff, message: {{ or $message (printf "Back-off pulling image %q" .image) | Quote }}}}
  {{ else if $crash }}
  started: false
  restartCount: 1
  state: {waiting: {reason: CrashLoopBackOff, message: {{ printf "back-off restarting failed container %s" .name | Quote }}}}
  lastState:
    terminated:
      exitCode: {{ $code }}
      reason: {{ if eq $code 0 }}Completed{{ else }}Error{{ end }}
      {{ with $message }}message: {{ . | Quote }}{{ end }}
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}
  {{ else }}
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
  {{ end }}
{{ end }}
