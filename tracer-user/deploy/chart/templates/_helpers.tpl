{{- define "h2trace.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "h2trace.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "h2trace.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "h2trace.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "h2trace.selectorLabels" -}}
app.kubernetes.io/name: {{ include "h2trace.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: tracer
{{- end }}

{{- define "h2trace.labels" -}}
{{ include "h2trace.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "h2trace.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "h2trace.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "h2trace.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "h2trace.priorityClassName" -}}
{{- if .Values.priorityClassName }}
{{- .Values.priorityClassName }}
{{- else if .Values.priorityClass.create }}
{{- include "h2trace.fullname" . }}
{{- end }}
{{- end }}

{{- /* The capabilities, those that reading memory takes among them only where that is wanted. */ -}}
{{- define "h2trace.capabilities" -}}
{{- if .Values.tls.enabled }}
{{- concat .Values.capabilities (list "SYS_PTRACE" "DAC_READ_SEARCH") | uniq | toJson }}
{{- else }}
{{- .Values.capabilities | toJson }}
{{- end }}
{{- end }}

{{- define "h2trace.appArmorProfile" -}}
{{- if .Values.appArmorProfile }}
{{- toYaml .Values.appArmorProfile }}
{{- else if .Values.tls.enabled }}
{{- toYaml (dict "type" "Unconfined") }}
{{- end }}
{{- end }}

{{- /* What a tracer may do, the same for the DaemonSet and for the Job of "kubectl h2trace": of the pod ... */ -}}
{{- define "h2trace.podRights" -}}
hostPID: {{ .Values.hostPID }}
securityContext:
  seccompProfile:
    {{- toYaml .Values.seccompProfile | nindent 4 }}
  {{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}
  {{- with include "h2trace.appArmorProfile" . }}
  appArmorProfile:
    {{- . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- with .Values.seLinuxOptions }}
  seLinuxOptions:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.cri.enabled }}
  # The runtime's socket belongs to root's group.
  supplementalGroups: [0]
  {{- end }}
{{- end }}

{{- /* ... of its container. Not root: the image's file has these capabilities as well, so they are left to its user. */ -}}
{{- define "h2trace.containerRights" -}}
securityContext:
  privileged: false
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: {{ ne (int .Values.user) 0 }}
  runAsUser: {{ .Values.user }}
  runAsGroup: {{ .Values.user }}
  capabilities:
    drop: [ALL]
    add: {{ include "h2trace.capabilities" . }}
{{- end }}

{{- define "h2trace.volumeMounts" -}}
- name: cgroup
  mountPath: /sys/fs/cgroup
  readOnly: true
{{- if .Values.cri.enabled }}
- name: cri
  mountPath: {{ .Values.cri.directory }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "h2trace.volumes" -}}
- name: cgroup
  hostPath:
    path: {{ .Values.cgroup.hostPath }}
    type: Directory
{{- if .Values.cri.enabled }}
- name: cri
  hostPath:
    path: {{ .Values.cri.directory }}
    type: Directory
{{- end }}
{{- end }}

{{- define "h2trace.env" -}}
- name: H2TRACE_NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- end }}
