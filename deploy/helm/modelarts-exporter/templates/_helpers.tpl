{{/* The name of every object. 52 letters: the StatefulSet's controller adds 11 to it in a label of at most 63. */}}
{{- define "modelarts-exporter.fullname" -}}
{{- $default := printf "%s-%s" .Release.Name .Chart.Name -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- $default = .Release.Name -}}
{{- end -}}
{{- .Values.fullnameOverride | default $default | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that never change: a StatefulSet with another selector or volume is refused. */}}
{{- define "modelarts-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "modelarts-exporter.labels" -}}
{{ include "modelarts-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "modelarts-exporter.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "modelarts-exporter.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "modelarts-exporter.externalUrl" -}}
{{- if .Values.externalUrl -}}
{{- .Values.externalUrl -}}
{{- else if .Values.ingress.enabled -}}
{{- ternary "https" "http" (ne .Values.ingress.tlsSecretName "") -}}://
{{- if gt (int .Values.shards) 1 }}$(POD_NAME).{{ end -}}
{{- .Values.ingress.host -}}
{{- end -}}
{{- end -}}

{{/* What the kubelet asks for; the argument is the path. */}}
{{- define "modelarts-exporter.probe" -}}
{{- if and .root.Values.webConfig.secretName (eq .root.Values.webConfig.probe "tcp") -}}
tcpSocket: {port: metrics}
{{- else if .root.Values.webConfig.secretName -}}
httpGet: {path: {{ .path }}, port: metrics, scheme: {{ .root.Values.webConfig.scheme }}}
{{- else -}}
httpGet: {path: {{ .path }}, port: metrics}
{{- end -}}
{{- end -}}
