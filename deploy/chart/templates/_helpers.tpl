{{- define "swell.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "swell.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Name of cluster-scoped objects. In namespace-scoped mode there may be several installations. */ -}}
{{- define "swell.clusterName" -}}
{{- if .Values.namespaces }}
{{- printf "%s-%s" .Release.Namespace (include "swell.fullname" .) }}
{{- else }}
{{- include "swell.fullname" . }}
{{- end }}
{{- end }}

{{- define "swell.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "swell.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "swell.selectorLabels" -}}
app.kubernetes.io/name: {{ include "swell.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "swell.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "swell.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "swell.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- /* constrained, classic, or nothing where the operator writes with its own rights. */ -}}
{{- define "swell.impersonation" -}}
{{- if .Values.ownRights }}
{{- else if ne .Values.rbac.impersonation "auto" }}
{{- .Values.rbac.impersonation }}
{{- else if semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version }}
{{- "constrained" }}
{{- else }}
{{- "classic" }}
{{- end }}
{{- end }}

{{- define "swell.subject" -}}
kind: ServiceAccount
name: {{ include "swell.serviceAccountName" . }}
namespace: {{ .Release.Namespace }}
{{- end }}

{{- /* What the operator asks for under its own name about Applications and their objects: cluster-wide, or in each of its namespaces. */ -}}
{{- define "swell.ownRules" -}}
# Applications: what people write is read, status and metadata are written.
- apiGroups: [swell.dev]
  resources: [applications]
  verbs: [get, list, watch, patch]
- apiGroups: [swell.dev]
  resources: [applications/status]
  verbs: [update]
# What happens to them is told.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# Whether a namespace is there, and whether it is going.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# Objects of Applications are watched, selected by their label.
{{- if .Values.kinds }}
{{- range .Values.kinds }}
- apiGroups: [{{ .group | quote }}]
  resources: {{ .resources | toJson }}
  verbs: [list, watch]
{{- end }}
# Manifests come from ConfigMaps: a change is noticed.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, watch]
{{- else }}
- apiGroups: ["*"]
  resources: ["*"]
  verbs: [list, watch]
{{- end }}
{{- end }}

{{- /* Requests that are made as a service account, each with the prefix that constrained impersonation wants. */ -}}
{{- define "swell.actingRules" -}}
# What Applications consist of is written, and read by name.
{{- if .Values.kinds }}
{{- range .Values.kinds }}
- apiGroups: [{{ .group | quote }}]
  resources: {{ .resources | toJson }}
  verbs: {{ include "swell.actingVerbs" . }}
{{- end }}
# Manifests come from ConfigMaps.
- apiGroups: [""]
  resources: [configmaps]
  verbs: ["impersonate-on:serviceaccount:get"]
{{- else }}
- apiGroups: ["*"]
  resources: ["*"]
  verbs: {{ include "swell.actingVerbs" . }}
{{- end }}
# Why a workload or hook is not well: its pods, their logs and events.
{{- if .Values.kinds }}
- apiGroups: [""]
  resources: [pods, pods/log]
  verbs: ["impersonate-on:serviceaccount:get"]
{{- end }}
- apiGroups: [""]
  resources: [pods, events]
  verbs: ["impersonate-on:serviceaccount:list"]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: ["impersonate-on:serviceaccount:list"]
{{- end }}

{{- define "swell.actingVerbs" -}}
["impersonate-on:serviceaccount:get", "impersonate-on:serviceaccount:create", "impersonate-on:serviceaccount:patch", "impersonate-on:serviceaccount:update", "impersonate-on:serviceaccount:delete"]
{{- end }}

{{- /* Which accounts it acts as. */ -}}
{{- define "swell.accountRules" -}}
{{- $names := list }}
{{- if .Values.forceAccount }}
{{- $names = list (last (splitList "/" .Values.forceAccount)) }}
{{- end -}}
# Writes go out as a service account; one that does not exist is told.
{{- if eq (include "swell.impersonation" .) "constrained" }}
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get]
  {{- with $names }}
  resourceNames: {{ . | toJson }}
  {{- end }}
- apiGroups: [authentication.k8s.io]
  resources: [serviceaccounts]
  verbs: ["impersonate:serviceaccount"]
  {{- with $names }}
  resourceNames: {{ . | toJson }}
  {{- end }}
{{- else }}
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, impersonate]
  {{- with $names }}
  resourceNames: {{ . | toJson }}
  {{- end }}
{{- end }}
{{- end }}
